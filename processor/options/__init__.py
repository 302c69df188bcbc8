"""What options are, and the sets of options that commands share; those of `processor run` alone are in `settings`."""
