/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FS_TASK_H
#define FS_TASK_H

#include <stdbool.h>
#include <sys/types.h>

/*
 * Whether a task is being ended by a signal. `task` is the thread id that a request came with, and
 * must be waiting for the request's answer, so that the id stays its own and its state as it is. A
 * task of a foreign pid namespace (0) and one that cannot be looked at are not.
 * Source: proc(5), /proc/PID/stat: field 9 has PF_EXITING (0x4) from the beginning of do_exit,
 * which closes the files later; field 52 is the exit code as waitpid(2) will give it.
 */
bool task_is_dying(pid_t task);

#endif
