# What organisers read.

nav-organise = Organise
