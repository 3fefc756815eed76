"""The web door (3080): pages for people, and the JSON API that tsh and joining agents use."""
