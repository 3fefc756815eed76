"""The MQTT broker: the files that make it ours, and how we reach it. Its process is the supervisor's to run."""
