/*
 * Names that leave. Docker's resolver sits at 127.0.0.11 in every container's namespace and asks the host's resolver for what it
 * does not know, also for containers on internal networks (CVE-2024-29018): that carries data out. A subject with a scope may ask
 * for the names on its own networks only.
 *
 * What the resolver would not take for one of those names is no such name here either: it compares names of containers by any case,
 * but networks and links as they are written. Capitals in what it passes on would carry data out.
 */

#define ENF_RESOLVER 0x7f00000b      /* 127.0.0.11 */
#define ENF_DNS_HEADER 12
#define ENF_DNS_LABELS 36            /* an IPv6 address backwards has 34 */

static __always_inline bool enf_to_resolver(const struct enf_address *a)
{
	return enf_v4(a) && ((const u32 *)a->bytes)[3] == bpf_htonl(ENF_RESOLVER);
}

/* Confined, or cut off altogether. */
static __always_inline bool enf_minds_names(struct enf_net_subject n)
{
	return n.scope || n.regime == ENF_QUARANTINED;
}

#define ENF_DNS_PTR 12

/*
 * What Docker's resolver answers by itself: A, PTR, MX, AAAA. Any other question it hands on, whatever the name: SRV too, which it
 * answers for services of a swarm only.
 */
static __always_inline bool enf_own_type(u16 type)
{
	return type == 1 || type == ENF_DNS_PTR || type == 15 || type == 28;
}

static __always_inline u64 enf_hash_name(const char *name)
{
	const u64 *word = (const u64 *)name;
	u64 hash = 0;

	for (int i = 0; i < ENF_DNS_NAME / 8; i++)
		hash = (hash ^ word[i]) * 0x9e3779b97f4a7c15;
	return hash;
}

/* Refused, counted and recorded with the name, as far as it was read; the verdict is what the subject's mode says. */
static __always_inline enum enf_verdict enf_refuse_name(const int by_task, u32 subject, u32 generation, struct enf_net_subject n,
							const struct enf_name_key *asked, u32 length, u8 protocol)
{
	struct enf_repeat_key key = {.generation = generation, .asked = ENF_CONNECT, .protocol = protocol};
	struct enf_event *e;

	key.what = (struct enf_count_key){.subject = subject, .object = n.home, .peer = ENF_OUTSIDE_NAME,
					  .class_ = ENF_CLASS_INSIDE, .access = ENF_CONNECT, .hook = ENF_HOOK_NAME};
	key.what.verdict = enf_decide(0, ENF_CONNECT, n.regime == ENF_QUARANTINED ? ENF_ENFORCE : n.mode);
	enf_count(&key.what);
	if (asked)
		key.detail = enf_hash_name(asked->name);
	e = enf_begin(by_task, &key, asked ? asked->name : 0, ENF_BY_CGROUP);
	if (!e)
		return key.what.verdict;
	e->mode = n.mode;
	e->path_len = length;
	if (asked)
		__builtin_memcpy(e->path, asked->name, sizeof(asked->name));
	enf_end(e, &key);
	return key.what.verdict;
}

/* The name in a query, and its length; 0 if there is none, or one too long to be anybody's here. */
static __always_inline u32 enf_read_name(struct __sk_buff *skb, u32 at, struct enf_name_key *key)
{
	u64 length = 0;
	u8 label;

	ENF_ROLLED
	for (int i = 0; i < ENF_DNS_LABELS; i++) {
		if (bpf_skb_load_bytes(skb, at + length, &label, 1) < 0 || label > 63)
			return 0;
		length += label + 1;
		if (!label || length >= ENF_DNS_NAME)
			break;
	}
	asm volatile("" : "+r"(length));     /* so that the test is of what is handed on: the verifier does not follow copies */
	if (label || length < 2 || length > ENF_DNS_NAME || bpf_skb_load_bytes(skb, at, key->name, length) < 0)
		return 0;
	return length;
}

#define ENF_EACH(byte) (0x0101010101010101ULL * (byte))

/* Capital letters become small ones, eight bytes at a time; a label's length, at most 63, is no letter. */
static __always_inline void enf_fold(struct enf_name_key *key)
{
	u64 *words = (u64 *)key->name;

	ENF_ROLLED
	for (int i = 0; i < ENF_DNS_NAME / 8; i++) {
		u64 w = words[i], low = w & ENF_EACH(0x7f);
		u64 from_a = low + ENF_EACH(0x80 - 'A'), past_z = low + ENF_EACH(0x7f - 'Z');

		words[i] = w | (from_a & ~past_z & ~w & ENF_EACH(0x80)) >> 2;
	}
}

/* Would Docker's resolver answer this question by itself? */
static __always_inline bool enf_own_name(const struct enf_name_key *asked, u16 type)
{
	struct enf_name_key folded = *asked;
	u32 *found = names.lookup(&folded);

	if (found)
		return (*found == ENF_BACKWARDS) == (type == ENF_DNS_PTR);
	if (type == ENF_DNS_PTR)
		return false;
	enf_fold(&folded);
	found = names.lookup(&folded);
	return found && *found == ENF_ANY_CASE;
}

/* A datagram to Docker's resolver leaves; `at` is where its content starts. */
static __always_inline enum enf_verdict enf_answer_name_query(struct __sk_buff *skb, u32 at, const struct enf_subject *s,
							      u32 generation, struct enf_net_subject n)
{
	struct enf_name_key key __attribute__((aligned(8))) = {.generation = generation, .scope = n.scope};
	u16 questions = 0, type = 0;
	u32 length;

	bpf_skb_load_bytes(skb, at + 4, &questions, sizeof(questions));
	length = questions == bpf_htons(1) ? enf_read_name(skb, at + ENF_DNS_HEADER, &key) : 0;
	bpf_skb_load_bytes(skb, at + ENF_DNS_HEADER + length, &type, sizeof(type));
	type = bpf_ntohs(type);
	/* a datagram that is to be cut into several is several questions */
	if (length && skb->gso_segs <= 1 && n.regime != ENF_QUARANTINED && enf_own_type(type) && enf_own_name(&key, type))
		return ENF_ALLOWED;
	return enf_refuse_name(0, s->id, generation, n, &key, length, ENF_UDP);
}
