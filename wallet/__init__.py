"""The engine of a city's digital money. Begin at ``planes``, or at ``api.till`` for a payment."""
