/* What an address is by itself, and the protocols by their numbers. */
#ifndef ENF_ADDRESS_H
#define ENF_ADDRESS_H

#define ENF_ICMP 1
#define ENF_TCP 6
#define ENF_UDP 17
#define ENF_DCCP 33
#define ENF_ICMPV6 58
#define ENF_SCTP 132
#define ENF_UDPLITE 136

#define ENF_SYN 0x02
#define ENF_RST 0x04
#define ENF_ACK 0x10

#define ENF_SOCK_RAW 3

static __always_inline bool enf_v4(const struct enf_address *a)
{
	const u32 *w = (const u32 *)a->bytes;

	return !w[0] && !w[1] && w[2] == bpf_htonl(0xffff);
}

/* Loopback, and the unspecified address, which connects to loopback. */
static __always_inline bool enf_loopback(const struct enf_address *a)
{
	const u32 *w = (const u32 *)a->bytes;

	if (enf_v4(a))
		return a->bytes[12] == 127 || !w[3];
	return !w[0] && !w[1] && !w[2] && (!w[3] || w[3] == bpf_htonl(1));
}

#endif
