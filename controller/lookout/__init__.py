"""The presence process: speaks MQTT for the controller, knows who is there, and tells the other processes and nodes."""
