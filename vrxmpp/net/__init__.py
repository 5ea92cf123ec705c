"""Thin Twisted protocols and sockets."""
