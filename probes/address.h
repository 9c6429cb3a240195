/* What an address is by itself. */
#ifndef ENF_ADDRESS_H
#define ENF_ADDRESS_H

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
