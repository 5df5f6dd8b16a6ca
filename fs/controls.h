/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FS_CONTROLS_H
#define FS_CONTROLS_H

#include "fs/call.h"

/*
 * Files of a run that answer in write(2), because shells ignore the errors of close: ctl, where
 * each write is one command, and timers/NAME, where the first write arms the timer with its whole
 * text. Offsets mean nothing; cutting them is accepted; a timer that is closed without a write is
 * not there.
 */

/* Answers OPEN: of ctl for reading and writing (it reads as empty), of a timer for writing. */
int controls_open(struct call *call, const struct node *node);

/* Runner for CREATE in timers/ (`node`, `name`): for processes of the run's attempt. */
int controls_create(struct call *call);

/* Runner for WRITE (`file`, `data`, `size`). */
int controls_write(struct call *call);

#endif
