"""Which doors open in which process.

Each plane has its own process, pool and connections, so whatever happens to any other one, paying
goes on. Password hashing happens in the resident plane only, behind a gate of its own.
"""

from wallet.planes.office import make_office
from wallet.planes.resident import make_resident
from wallet.planes.till import TillPlane, make_till

__all__ = ["TillPlane", "make_office", "make_resident", "make_till"]
