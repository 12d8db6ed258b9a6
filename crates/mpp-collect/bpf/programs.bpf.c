/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * All programs in one object, because the iterator tells what the hooks remember.
 */
#include "survey.h"
#include "hooks.h"
#include "files.h"
#include "sockets.h"

char LICENSE[] SECTION("license") = "Dual MIT/GPL";
