/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_ENGINE_ATTEMPTING_H
#define TESTS_ENGINE_ATTEMPTING_H

#include <criterion/criterion.h>
#include <stdbool.h>

#include "engine/attempt.h"

#define ATTEMPTING_VERSION "00000000000000000000000000000000000000000000000000000000000000ab"

#define NOBODY 65534

/* Something that looks like a mount to a holder: directories with a package and a run, and a state.
 */
struct stage {
	char root[64];	   /* the mountpoint */
	char holder[128];  /* the program */
	int output;	   /* for the workflow */
	int output_reader; /* when the output is a pipe: ends when no process of the attempt is left
			    */
	int log_directory;
	uid_t uid;
	gid_t gid;
	const char *run_id, *function;
};

/* How a test is run: with the rights that it was started with, or with none. */
enum rights { AS_ROOT, AS_NOBODY };

/*
 * Makes a stage; with AS_NOBODY the whole test becomes that user. Skips a test of AS_ROOT where no
 * namespace can be made. Root leaves a setuid copy of setpriv(1) in the stage. `script` is
 * bin/run of the package, its first line included; NULL: none.
 */
void stage_open(struct stage *stage, enum rights rights, const char *script);

/* Replaces bin/run. */
void stage_put(struct stage *stage, const char *script);

/* From now on the output is a pipe. */
void stage_use_pipe(struct stage *stage);

int stage_try(struct stage *stage, struct attempt *attempt, struct reason *reason);

/* Starts bin/run, which has to succeed. */
void stage_start(struct stage *stage, struct attempt *attempt);

/* From the start to the end. */
struct attempt_end stage_run(struct stage *stage);

/* The same with another script. */
struct attempt_end stage_run_script(struct stage *stage, const char *script);

/* The contents of a file of the stage, to be freed. */
char *stage_read(struct stage *stage, const char *name);

/* With a pipe: nothing of the attempt lives; within so many milliseconds. */
bool stage_is_empty(struct stage *stage, int patience_ms);

/* Waits for these bytes in a file of the stage, or fails. */
void stage_await(struct stage *stage, const char *name, const char *text);

/* Removes everything; checks that no child and no descriptor is left. */
void stage_close(struct stage *stage);

void sleep_ms(long ms);

/* A test that holds with privileges and without. */
#define TEST_BOTH(name)                                                                            \
	static void name(enum rights rights);                                                      \
	Test(attempt, name, .timeout = 300)                                                        \
	{                                                                                          \
		name(AS_ROOT);                                                                     \
	}                                                                                          \
	Test(attempt_unprivileged, name, .timeout = 300)                                           \
	{                                                                                          \
		name(AS_NOBODY);                                                                   \
	}                                                                                          \
	static void name(enum rights rights)

#endif
