"""Where the time of a step goes: in the statements of advance(), in the server's code, in the worker."""
