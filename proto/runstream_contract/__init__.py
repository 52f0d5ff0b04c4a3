"""What both ends of the wire agree on beyond the generated code: limits, name rules, ids, the columnar codec."""
