/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * What user space asks of the programs while they run: the bits SETTING_*.
 */
#pragma once

#include "kernel.h"

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_ARRAY);
	MAP_NUMBER(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u32);
} settings SECTION(".maps");

ALWAYS_INLINE u32 setting(void)
{
	u32 zero = 0;
	u32 *bits = bpf_map_lookup_elem(&settings, &zero);

	return bits ? *bits : 0;
}
