/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FS_TASK_H
#define FS_TASK_H

#include <stdbool.h>
#include <sys/types.h>

/*
 * What /proc says of the task behind a request. `task` is the thread id that the request came with,
 * and must be waiting for the answer, so that the id stays its own and its state as it is. A task
 * of a foreign pid namespace has the id 0, of which nothing is known.
 */

/*
 * Whether it is being ended by a signal.
 * Source: proc(5), /proc/PID/stat: field 9 has PF_EXITING (0x4) from the beginning of do_exit,
 * which closes the files later; field 52 is the exit code as waitpid(2) will give it.
 */
bool task_is_dying(pid_t task);

/* The process that the thread is of; 0 when that is not known. */
pid_t task_process(pid_t task);

/* Whether there is a process of that number that has not ended yet, whatever process it is now. */
bool task_is_running(pid_t process);

#endif
