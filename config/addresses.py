"""Which addresses count as one sender."""

import ipaddress


def name_sender(address: str) -> str:
    """Return the IPv4 address, or the network of 64 bits that an IPv6 address belongs to.

    A network of that size is the least that a provider gives, so one sender can use any address in
    it. What is not an address is its own sender.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))
