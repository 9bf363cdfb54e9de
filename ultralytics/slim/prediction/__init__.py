"""Nodes and their parents in images and videos: found, drawn, saved, and scored."""
