//! The master moves, replicas and masters die: clients keep their connections and lose nothing that was acknowledged.
