"""The commands of tsh, one file each."""
