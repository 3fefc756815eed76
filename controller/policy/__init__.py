"""Pure decisions of the controller: values and `now` in, an answer out."""
