"""Installing, upgrading and removing the agent on a device. Nothing of it is loaded by the agent that serves."""
