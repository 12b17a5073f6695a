"""The embedded cluster, examined over real sockets with clients that share no code with it."""
