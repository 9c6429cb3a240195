/*
 * The decision, and nothing else: no map, no task, no clock. Every hook asks here, and enforcer/core/decide.py gives the
 * same answers; tests/contract/test_decide.py compiles this file with gcc and holds the two together.
 *
 * Plain C for gcc and bcc's clang. The includer brings u8, u16, u32, __always_inline and contract.h.
 */
#ifndef ENF_DECIDE_H
#define ENF_DECIDE_H

/*
 * What becomes of an access. `granted` and `asked` are enum enf_access bits, `mode` is the row's enum enf_mode.
 *
 *   granted            asked        mode      verdict
 *   READ|EXEC          READ         ENFORCE   ALLOWED     asked is within granted, whatever the mode
 *   READ|EXEC          READ|WRITE   MONITOR   OBSERVED    one bit too many; only looking
 *   READ|EXEC          READ|WRITE   ENFORCE   DENIED
 *   0                  READ         7         DENIED      a mode that nobody defined is no permission
 */
static __always_inline enum enf_verdict enf_decide(u32 granted, u32 asked, u32 mode)
{
	if (!(asked & ~granted))
		return ENF_ALLOWED;
	return mode == ENF_MONITOR ? ENF_OBSERVED : ENF_DENIED;
}

/*
 * May this protocol and port be reached? A count past the array is a malformed value and grants nothing.
 * The loop runs to a constant, so that the verifier sees every index within the array.
 */
static __always_inline int enf_ports_allow(const struct enf_ports *ports, u32 protocol, u32 port)
{
	u32 i;

	if (ports->count > ENF_MAX_RANGES)
		return 0;
	for (i = 0; i < ENF_MAX_RANGES; i++) {
		const struct enf_port_range *range = &ports->ranges[i];

		if (i >= ports->count)
			return 0;
		if (range->protocol != ENF_PROTO_ANY && range->protocol != protocol)
			continue;
		if (range->first <= port && port <= range->last)
			return 1;
	}
	return 0;
}

#endif
