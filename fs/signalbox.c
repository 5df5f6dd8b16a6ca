/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns what is particular to runs/ID/signals: a file that is written there is delivered to the run,
 * and reads back as it was delivered. Texts are "ID/NAME".
 */
#include <errno.h>
#include <string.h>

#include "engine/record.h"
#include "fs/rundir.h"
#include "fs/runfile.h"
#include "fs/spool.h"

static uint64_t limit(const struct fs *fs)
{
	(void)fs;
	return SIGNAL_BYTES_MAX;
}

/* Of a temporary name only the sender and the run's state can be judged: any name does for that. */
static int check(struct call *call, const struct box_kind *kind, const char *text)
{
	struct reason reason = {0};
	struct rundir_name name;

	(void)kind;
	rundir_split(text, &name);
	return signal_check(call->fs->engine, &call->caller, name.id,
			    box_is_dot(text) ? "signal" : name.name, &reason);
}

static int check_rename(struct call *call, const struct box_kind *kind, const char *text,
			const char *new_text)
{
	(void)text;
	return box_is_dot(new_text) ? 0 : check(call, kind, new_text);
}

static int commit(struct call *call, struct spool *spool, const char *text,
		  const struct caller *caller, struct reason *reason)
{
	struct rundir_name name;

	rundir_split(text, &name);
	return signal_deliver(call->fs->engine, caller, name.id, name.name, spool->fd,
			      atomic_load(&spool->size), reason);
}

static int describe(struct call *call, const struct box_kind *kind, const char *text,
		    struct stat *ret_attr)
{
	return rundir_describe_value(call, kind->place, text, S_IFREG | 0600, ret_attr);
}

static int open_value(struct call *call, const struct box_kind *kind, const char *text)
{
	return runfile_open_value(call, kind->place, text);
}

static int list(struct call *call, const struct box_kind *kind, const char *prefix,
		struct listing *listing)
{
	struct rundir_name name;

	(void)kind;
	return rundir_list_items(call, rundir_split(prefix, &name), ITEM_SIGNAL, listing);
}

/* A run that was removed leaves nothing behind. */
static bool is_stale(struct fs *fs, const struct spool *spool)
{
	struct rundir_name name;
	struct run_view view;

	return runs_view(fs->engine, rundir_split(spool->name, &name), &view) == -ENOENT;
}

const struct box_kind box_signal = {
    .place = PLACE_SIGNAL,
    .group = WORK_RUNS,
    .quota = QUOTA_USERS,
    .takes_any_bytes = true,
    .noun = "signal",
    .too_large = "value_too_large",
    .limit_name = "",
    .limit = limit,
    .check = check,
    .commit = commit,
    .describe = describe,
    .open = open_value,
    .list = list,
    .remove = rundir_refuse_removal,
    .check_rename = check_rename,
    .is_stale = is_stale,
};
