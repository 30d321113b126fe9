//! The HTTP front door: the wire of Feast's feature server, admin pages, metrics.
