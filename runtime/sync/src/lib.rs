//! What reaches a node from elsewhere: the Feast repo, its registry file, Parquet sources, imports.
