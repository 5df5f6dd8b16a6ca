/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_ENGINE_RUNNING_H
#define TESTS_ENGINE_RUNNING_H

/*
 * A whole engine whose attempts really run: the mount is a tree of plain directories, with the
 * packages and inputs that the tests put there. What the filesystem would do for a process of an
 * attempt, a test does in its place, with that process as the caller.
 */
#include "engine/control.h"
#include "engine/record.h"
#include "engine/run_private.h"
#include "engine/runs.h"
#include "engine/start.h"
#include "engine/supervisor.h"
#include "engine/unload.h"
#include "tests/engine/fixture.h"

struct world {
	struct fixture fixture;
	struct engine *engine; /* fixture.engine */
	char mount[64];
};

/* Writes its attempt's number to seen/ID, waits for seen/ID.go, and gives its input back. */
extern const char script_waits[];
/* Does nothing for long, without any CPU. */
extern const char script_sleeps[];

void world_open(struct world *world);
void world_mount(struct world *world);
void world_remount(struct world *world);
void world_close(struct world *world);

/* `more` goes into the manifest, with a comma in front; "" for nothing. */
struct digest world_deploy(struct world *world, const char *type, const char *more,
			   const char *script);
struct digest world_put(struct world *world, enum box box, const char *type, const char *more,
			const char *script);

int world_memory(const char *bytes, size_t size);
int world_try_start(struct world *world, const struct caller *caller, const char *type,
		    const struct digest *version, const char *id, const char *input,
		    struct reason *reason);
void world_start(struct world *world, const char *type, const char *id, const char *input);

enum run_status world_status(struct world *world, const char *id);
void world_await(struct world *world, const char *id, enum run_status status);
/* Until the attempt of that number runs its script. */
void world_await_attempt(struct world *world, const char *id, uint32_t number);

/* A file under the mount: made, and waited for. */
void world_touch(struct world *world, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
char *world_read(struct world *world, const char *name);
void world_go(struct world *world, const char *id);

/* A process of the open attempt. */
struct caller world_task(struct world *world, const char *id);

/* What such a process does. */
int world_step(struct world *world, const char *id, const char *name, const char *command,
	       const char *result, struct reason *reason);
int world_timer(struct world *world, const char *id, const char *name, const char *text);
int world_signal(struct world *world, const char *id, const char *name, const char *bytes);
int world_control(struct world *world, const char *id, const char *command);

char *world_history(struct world *world, const char *id);
size_t count_of(const char *text, const char *part);
void expect_history(struct world *world, const char *id, const char *part, size_t count);
void expect_value(struct world *world, const char *id, enum run_value value, const char *name,
		  const char *text);
char *world_error(struct world *world, const char *id);

/* Nothing on the disk that should not be there. Closes the engine and mounts again. */
void world_expect_clean(struct world *world);

void sleep_ms(long ms);
int64_t now_ms(void);

#endif
