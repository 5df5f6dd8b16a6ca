/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_HOLDER_H
#define ENGINE_HOLDER_H

#include <stdint.h>

/*
 * What the daemon (engine/attempt.c) and its holder (engine/holder_main.c) agree on. They are of
 * one build; nothing of this is ever stored.
 *
 * The holder is told everything by its arguments, each one KEY=VALUE, which also makes `ps` tell
 * one holder from another:
 *
 *     mount=/mnt/aion run=42 type=order version=9f86... function=run attempt=1
 *     uid=1000 gid=1000 groups=1000,24    the user; without `groups` the holder's own identity
 * stays log=42                              the log's name in the log directory path=/usr/bin the
 * directory of the aionfs program home=/home/u user=u shell=/bin/sh   of the user tz=Europe/Zurich
 * only when the daemon has one
 */
#define HOLDER_PROGRAM "aionfs-holder"

enum holder_descriptor {
	HOLDER_LIFELINE = 3, /* a pipe's reading end: a byte or its end means that all has to end */
	HOLDER_REPORT,	     /* a pipe's writing end, for one struct holder_report */
	HOLDER_OUTPUT,	     /* the workflow's stdout */
	HOLDER_LOG_DIRECTORY,
	HOLDER_DESCRIPTORS_END,
};

#define HOLDER_TEXT_SIZE 160
#define HOLDER_REPORT_MAGIC 0x61696f6eU

/* Small enough for a pipe to take it whole (PIPE_BUF). */
struct holder_report {
	uint32_t magic;
	uint32_t outcome; /* enum attempt_outcome, never ATTEMPT_LOST */
	int32_t value;	  /* exit code or signal */
	int32_t error;	  /* positive errno, of ATTEMPT_NOT_STARTED */
	char text[HOLDER_TEXT_SIZE];
};

#endif
