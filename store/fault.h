/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_FAULT_H
#define STORE_FAULT_H

#include <setjmp.h>
#include <stdbool.h>

/*
 * Surviving SIGBUS: touching a mapped page that the file no longer has raises it.
 *
 *     struct fault_guard guard;
 *
 *     if (sigsetjmp(fault_guard_enter(&guard), 0)) {
 *             fault_guard_leave(&guard);
 *             return -EIO;
 *     }
 *     ... touch the map: nothing that takes a lock, allocates or writes ...
 *     fault_guard_leave(&guard);
 *
 * Locals that change between the two must be volatile. Guards nest within a thread.
 */
struct fault_guard {
	sigjmp_buf jump;
	struct fault_guard *outer;
};

/* Arms the guard for this thread. Returns what sigsetjmp wants. */
sigjmp_buf *fault_guard_arm(struct fault_guard *guard);
#define fault_guard_enter(guard) (*fault_guard_arm(guard))

void fault_guard_leave(struct fault_guard *guard);

/*
 * Installs the process's SIGBUS handler, once. A fault outside a guard gets the default action.
 * Returns -EIO.
 */
int fault_install(void);

#endif
