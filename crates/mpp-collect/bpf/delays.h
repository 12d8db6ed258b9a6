/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * What threads have waited for, as the kernel's taskstats count it.
 *
 * A thread's own waits are its own for as long as it lives. When it ends, the kernel adds them to
 * its process's sum before our hook runs, but only where other threads are or were there. What a
 * kernel does not count is left out, each by itself.
 */
#pragma once

#include "origin.h"

/* What of it this kernel counts: DELAYS_*. */
ALWAYS_INLINE u32 counted_delays(void)
{
	u32 marks = 0;

	if (!FIELD_EXISTS(((struct signal_struct___ends *)0)->stats))
		return 0;
	if (FIELD_EXISTS(((struct task_struct___queues *)0)->sched_info.run_delay))
		marks |= DELAYS_CPU;
	if (FIELD_EXISTS(((struct task_struct___waits *)0)->delays))
		marks |= DELAYS_OTHERS;
	return marks;
}

/* What one thread has waited for; DELAYS_MISSED where not everything was counted. */
ALWAYS_INLINE u32 copy_delays(struct record_delays *to, const struct task_struct *task)
{
	const struct task_delay_info *delays;
	u32 marks = counted_delays();

	*to = (struct record_delays){};
	if (FIELD_EXISTS(((struct task_struct___queues *)0)->sched_info.run_delay))
		to->cpu = ((const struct task_struct___queues *)task)->sched_info.run_delay;
	if (FIELD_EXISTS(((struct task_struct___waits *)0)->delays)) {
		delays = ((const struct task_struct___waits *)untrusted(task))->delays;
		if (!delays)
			return marks | DELAYS_MISSED;
		to->block_io = delays->blkio_delay;
		to->swap = delays->swapin_delay;
		to->reclaim = delays->freepages_delay;
	}
	return marks;
}

/* What the threads of a process that have ended had waited for: DELAYS_OF_ENDED, or 0 where
 * nothing is written, because there are none. */
ALWAYS_INLINE u32 copy_delays_of_ended(struct record_delays *to,
				       const struct signal_struct *signal)
{
	const struct taskstats *stats;

	if (!FIELD_EXISTS(((struct signal_struct___ends *)0)->stats))
		return 0;
	stats = ((const struct signal_struct___ends *)signal)->stats;
	if (!stats)
		return 0;
	to->cpu = stats->cpu_delay_total;
	to->block_io = stats->blkio_delay_total;
	to->swap = stats->swapin_delay_total;
	to->reclaim = stats->freepages_delay_total;
	return DELAYS_OF_ENDED;
}
