# The control plane reads who is healthy, and changes nothing:
#   consul acl policy create -name mesh-control-plane -rules @control-plane.hcl
# A token that may read less is not refused but told less, as if the instances were gone.

service_prefix "" {
  policy = "read"
}

# Without the nodes, instances are left out of every answer about health.
node_prefix "" {
  policy = "read"
}
