"""Int8 files that say what their float ones say: by the runtimes' own tools, told what stays float, and measured."""
