"""Boxes made of Linux namespaces by a fork server. Everything after `zygote` runs in that server or in a box."""
