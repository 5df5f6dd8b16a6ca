/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FS_RUNDIR_H
#define FS_RUNDIR_H

#include "engine/runs.h"
#include "fs/call.h"
#include "fs/listing.h"

struct box_kind;

/*
 * Names and attributes of runs/ and by-status/ (and of by-status/ alone: they are for everybody).
 * Into a run's directory only those look who may: its user, root, the owner of the mount.
 * Everything in it belongs to the run's user and shows him alone as permitted. Nothing of it is
 * kept by the kernel: each name is asked for each time.
 */

/* Whether a node is in runs/ or by-status/, or one of the two. */
bool rundir_owns(const struct node *node);

/* As entry_child, entry_describe and entry_list, for nodes that are rundir_owns'. */
int rundir_child(struct call *call, const struct node *parent, const char *name,
		 struct node *ret_child);
int rundir_describe(struct call *call, const struct node *node, struct fuse_entry_param *ret_entry);
int rundir_list(struct call *call, const struct node *node, struct listing *ret_listing);

/*
 * Describes a node that is open: also a timer that was made and not set yet, which has no entry.
 */
int rundir_describe_open(struct call *call, const struct node *node,
			 struct fuse_entry_param *ret_entry);

/*
 * The generation of a node's inode: each run has one of its own, so that the kernel does not take
 * the directory of a new run for one of the same ID that was removed, which stays dead for as long
 * as somebody has a file in it open. The same in every answer that makes an entry. 0 outside of
 * runs.
 */
uint64_t rundir_generation(struct fs *fs, const struct node *node);

/* Whether the caller may look into what the node is or is in. Returns 0, -EACCES, -ENOENT. */
int rundir_check(struct call *call, const struct node *node);

/* Answers READLINK. Returns -EINVAL (no link), -ENOENT. */
int rundir_readlink(struct call *call, const struct node *node);

/*
 * Runner for SETATTR of what is no drop box's: times and modes are accepted for what can be
 * written, and not kept, so that tools which set them after a copy succeed.
 */
int rundir_setattr(struct call *call);

/* Splits a text at its slash: the run's ID, and behind it the name (or NULL). */
struct rundir_name {
	char id[NODE_TEXT_MAX + 1];
	const char *name;
};
const char *rundir_split(const char *text, struct rundir_name *ret_name);

/* The value that a place's files are. Returns false for places without. */
bool rundir_value(enum place place, enum run_value *ret_value);

/* Whether looking something up in a run's history is for a worker: then the answer is -EAGAIN. */
bool rundir_takes_long(struct call *call, const char *id);

/* Fills in a file of a run's user. */
void rundir_attr(struct fs *fs, const struct node *node, uid_t uid, gid_t gid, mode_t mode,
		 uint64_t size, int64_t time_ns, struct stat *ret_attr);

/*
 * For the boxes in a run: attributes of a recorded value, the list of names, and -EPERM or -ENOENT
 * for their removal.
 */
int rundir_describe_value(struct call *call, enum place place, const char *text, mode_t mode,
			  struct stat *ret_attr);
int rundir_list_items(struct call *call, const char *id, enum item_kind kind,
		      struct listing *listing);
int rundir_refuse_removal(struct call *call, const struct box_kind *kind, const char *text);

#endif
