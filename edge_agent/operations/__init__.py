"""What a person does on a device whose agent is not well: look what is wrong, and gather it for somebody who knows."""
