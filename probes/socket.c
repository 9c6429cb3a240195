/* Sockets that no address is judged for when they send. */

#define ENF_EXPERIMENT 253       /* RFC 3692: the canary's, whose raw socket is let through so that its packet is tried */

/* A task makes a socket that no address is judged for when it sends. */
static __always_inline enum enf_verdict enf_answer_socket(const struct enf_subject *s, u32 kind, u8 protocol, u8 mechanism)
{
	u32 generation = enf_generation();
	struct enf_net_subject n = enf_stands(generation, s->id);
	struct enf_count_key count = {.subject = s->id, .object = n.home, .class_ = ENF_CLASS_INSIDE, .access = ENF_CONNECT,
				      .hook = ENF_HOOK_SOCKET};
	struct enf_flow nowhere = {.protocol = protocol};

	if (n.regime == ENF_FREE || (n.regime == ENF_GOVERNED && n.sockets & kind))
		return ENF_ALLOWED;
	if (n.regime == ENF_QUARANTINED)
		n.mode = ENF_ENFORCE;
	count.peer = kind == ENF_SOCKET_PACKET ? ENF_PACKET_SOCKET : ENF_RAW_SOCKET;
	count.verdict = enf_decide(0, ENF_CONNECT, n.mode);
	if (count.verdict == ENF_DENIED && mechanism == ENF_BY_TRACEPOINT)
		count.verdict = ENF_KILLED;
	enf_count(&count);
	enf_net_record(1, &count, generation, n.mode, &nowhere, mechanism);
	return count.verdict;
}

/* A task makes a raw socket. One for ICMP is what ping needs: where the rules grant ICMP, its packets are judged. */
int enf_socket(struct bpf_sock *ctx)
{
	struct enf_subject *s = enf_current_subject();
	u32 kind = ENF_SOCKET_RAW;
	u8 protocol = ctx->protocol;

	if (!s || ctx->type != ENF_SOCK_RAW || (s->id == ENF_CANARY && protocol == ENF_EXPERIMENT))
		return 1;
	if (protocol == ENF_ICMP || protocol == ENF_ICMPV6)
		kind |= ENF_SOCKET_ICMP;
	return enf_answer_socket(s, kind, protocol, ENF_BY_CGROUP) != ENF_DENIED;
}

/* Of all families only these send nothing past the hooks above: UNIX, INET, INET6, NETLINK, ALG. */
static __always_inline bool enf_judged_elsewhere(u32 family)
{
	return family == 1 || family == ENF_AF_INET || family == ENF_AF_INET6 || family == 16 || family == 38;
}

/* A task makes a socket below IP or beside it: AF_PACKET, AF_VSOCK, AF_XDP and the like. */
static __always_inline enum enf_verdict enf_judge_family(const struct enf_subject *s, void *family, void *by_kernel,
							 struct enf_how how)
{
	if (enf_judged_elsewhere((u64)family) || (u32)(u64)by_kernel)
		return ENF_ALLOWED;
	enf_learn_how(&how);
	return enf_answer_socket(s, ENF_SOCKET_PACKET, 0, how.mechanism);
}
ENF_SECURITY(enf_socket_create, enf_judge_family, 0, 3)
