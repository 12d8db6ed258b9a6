/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * The hooks without the iterators, for whoever asks the living himself: loading them takes a part
 * of the time that all programs take.
 */
#include "hooks.h"

char LICENSE[] SECTION("license") = "Dual MIT/GPL";
