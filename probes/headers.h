/* What a packet says of itself: the other side, the protocol and the ports, through options and extension headers. */
#ifndef ENF_HEADERS_H
#define ENF_HEADERS_H

struct enf_packet {
	struct enf_flow flow;
	u32 content;             /* where what follows the ports starts, for UDP */
	u32 next;                /* where the header after IP's starts; 0 or 1: there is none to be read */
	u16 own_port;
	u8 flags;                /* of TCP */
};

/* Where the next header starts, 0 if the packet cannot be read, 1 if it is a later fragment and has none. */
static __always_inline u32 enf_read_v4(struct __sk_buff *skb, bool leaves, struct enf_packet *p)
{
	u32 h[5], *w = (u32 *)p->flow.to.bytes;

	if (bpf_skb_load_bytes(skb, 0, h, sizeof(h)) < 0)
		return 0;
	w[2] = bpf_htonl(0xffff);
	w[3] = leaves ? h[4] : h[3];
	p->flow.protocol = bpf_ntohl(h[2]) >> 16;
	return bpf_ntohl(h[1]) & 0x1fff ? 1 : (bpf_ntohl(h[0]) >> 24 & 15) * 4;
}

/* Extension headers: hop-by-hop, routing, fragment, destination options; more than four are nothing lawful. */
static __always_inline u32 enf_read_v6(struct __sk_buff *skb, bool leaves, struct enf_packet *p)
{
	u32 h[10], at = sizeof(h), *w = (u32 *)p->flow.to.bytes;
	u8 next, extension[4];

	if (bpf_skb_load_bytes(skb, 0, h, sizeof(h)) < 0)
		return 0;
#pragma unroll
	for (int i = 0; i < 4; i++)
		w[i] = h[(leaves ? 6 : 2) + i];
	next = bpf_ntohl(h[1]) >> 8;
#pragma unroll
	for (int i = 0; i < 4; i++) {
		if (next != 0 && next != 43 && next != 44 && next != 60)
			break;
		if (bpf_skb_load_bytes(skb, at, extension, sizeof(extension)) < 0)
			return 0;
		at += next == 44 ? 8 : (extension[1] + 1) * 8;
		if (next == 44 && (extension[2] || extension[3] & 0xf8)) {
			p->flow.protocol = extension[0];
			return 1;
		}
		next = extension[0];
	}
	p->flow.protocol = next;
	return at;
}

/* The other side of a packet. False if it cannot be read. */
static __always_inline bool enf_read(struct __sk_buff *skb, bool leaves, struct enf_packet *p)
{
	u32 at = skb->protocol == bpf_htons(0x0800) ? enf_read_v4(skb, leaves, p) : enf_read_v6(skb, leaves, p);
	u8 protocol = p->flow.protocol;
	u16 ports[2];

	p->next = at;
	if (at < 2 || (protocol != ENF_TCP && protocol != ENF_UDP && protocol != ENF_UDPLITE && protocol != ENF_SCTP &&
		       protocol != ENF_DCCP))
		return at;
	if (bpf_skb_load_bytes(skb, at, ports, sizeof(ports)) < 0)
		return false;
	p->flow.port = bpf_ntohs(ports[leaves]);
	p->own_port = bpf_ntohs(ports[!leaves]);
	p->content = at + 8;
	return protocol != ENF_TCP || bpf_skb_load_bytes(skb, at + 13, &p->flags, 1) >= 0;
}

#endif
