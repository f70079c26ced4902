"""The one trigger: it only polls."""
