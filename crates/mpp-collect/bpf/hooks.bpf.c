/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * The hooks without the iterators, for whoever watches his own descendants and looks at the living
 * himself: loading them takes a part of the time that all programs take.
 */
#include "kernel.h"

/* Of whose descendants alone is told, from their birth on; 0: of everybody. */
const volatile s32 root = 0;
#define ROOT root

#include "hooks.h"

char LICENSE[] SECTION("license") = "Dual MIT/GPL";
