/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a mount on one page: open -> reload -> recovery -> serve -> stop -> drain -> close. Each
 * step undoes only itself; what comes after a failed one is never reached.
 */
#include "fs/mount.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fs/attach.h"
#include "fs/fs.h"
#include "fs/mountinfo.h"
#include "fs/say.h"
#include "fs/serve.h"
#include "fs/signals.h"

#define HANDOVER_TRIES 200
#define HANDOVER_NS (50l * 1000 * 1000)

/*
 * umount returns before the daemon has closed the state, and a mount that follows at once must not
 * fail for that: while the state is in use, but mounted nowhere, its owner is about to end.
 */
static bool is_handed_over(const struct mount *mount, const struct reason *reason)
{
	static const struct timespec pause = {0, HANDOVER_NS};
	struct mountinfo info;

	if (strcmp(reason->code, "store_in_use") != 0 || signals_pending() ||
	    mountinfo_find(MOUNTINFO_TABLE, NULL, mount->state, &info) == 0)
		return false;
	nanosleep(&pause, NULL);
	return true;
}

static int open_engine(const struct mount *mount, struct engine **ret_engine, struct reason *reason)
{
	int error, tries = 0;

	do {
		*reason = (struct reason){0};
		error = engine_open(&mount->options.engine, ret_engine, reason);
	} while (error && tries++ < HANDOVER_TRIES && is_handed_over(mount, reason));
	return error;
}

/* From the attached device to the end of the mount. */
static int serve(struct mount *mount, struct engine *engine, struct fs *fs, int device, int signals,
		 struct reason *reason)
{
	struct attached attached = {0};
	struct serve *serve;
	int error;

	attach_note(mount->mountpoint, &attached);
	error = serve_start(fs, device, &serve, reason);
	if (error) {
		attach_detach(mount->mountpoint, &attached);
		return error;
	}
	fs_tune(mount->mountpoint);
	engine_ready(engine);
	error = daemon_ready(&mount->daemon);
	if (error)
		reason_set(reason, -error, "mount_abandoned",
			   "nobody waits for the mount of %s any more; it is unmounted again",
			   mount->state);
	else
		serve_wait(serve, signals);

	daemon_stopping();
	/* Attempts have their directory in the mount: they end while it is still served. */
	engine_stop(engine);
	attach_detach(mount->mountpoint, &attached);
	fs_drain(fs);
	serve_stop(serve);
	return error;
}

static int mount_engine(struct mount *mount, struct engine *engine, int signals,
			struct reason *reason)
{
	const struct fs_options tree = {.owner = getuid(), .group = getgid()};
	const struct attach_options where = {.mountpoint = mount->mountpoint,
					     .state = mount->state,
					     .allow_other = mount->options.allow_other,
					     .flags = mount->options.mount_flags};
	struct fs *fs = NULL;
	int device, error;

	if (signals_pending())
		return reason_set(reason, EINTR, "interrupted",
				  "a signal ended the mount before it was ready");
	error = fs_new(engine, &tree, &fs, reason);
	if (!error)
		error = attach(&where, &device, reason);
	if (!error)
		error = serve(mount, engine, fs, device, signals, reason);
	fs_free(fs);
	return error;
}

int mount_serve(struct mount *mount)
{
	struct reason reason = {0};
	struct engine *engine = NULL;
	int signals = signals_open(), error = signals < 0 ? signals : 0;

	fs_tune_memory();
	mount->options.engine.state = mount->state;
	mount->options.engine.mountpoint = mount->mountpoint;
	if (!error)
		error = open_engine(mount, &engine, &reason);
	if (!error)
		error = mount_engine(mount, engine, signals, &reason);
	engine_close(engine);
	if (signals >= 0)
		close(signals);
	if (error)
		say_reason("mount", &reason, error);
	return error;
}
