"""The model inside other libraries. Each module imports its library, which is an extra of this package."""
