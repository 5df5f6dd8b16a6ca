/* SPDX-License-Identifier: Apache-2.0 */
/* Delivering signals: from whoever may command the run, at any time before its end. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/audit.h"
#include "engine/clock.h"
#include "engine/permit.h"
#include "engine/record.h"
#include "engine/run_private.h"
#include "engine/runs.h"

static int refuse_finished(const char *id, enum run_status status, struct reason *reason)
{
	return reason_set(reason, EBUSY, "run_finished",
			  "run %s is %s: it takes no signals any more", id,
			  run_status_name(status));
}

int signal_check(struct engine *engine, const struct caller *caller, const char *id,
		 const char *name, struct reason *reason)
{
	struct run_view view;
	int error = runs_check_access(engine, caller, id);

	if (!error)
		error = record_check_name(name, reason);
	if (!error)
		error = runs_view(engine, id, &view);
	if (!error && run_is_final(view.status))
		error = refuse_finished(id, view.status, reason);
	if (error)
		record_note_refusal(engine, caller, "signal_refused", id, name, reason);
	return error;
}

static int append_signal(struct engine *engine, struct run *run, const struct caller *caller,
			 const char *name, struct value *value, struct reason *reason)
{
	struct event event = {
	    .kind = EVENT_SIGNAL_DELIVERED,
	    .digest = *value_digest(value),
	    .bytes = value_size(value),
	    .uid = caller->uid,
	    .gid = caller->gid,
	};
	struct append append = {.events = &event, .count = 1, .value = value};
	char *audit =
	    audit_line("signal", clock_wall_ns(), caller,
		       json_pack("{s:s, s:o}", "run", run->id, "signal", audit_string(name)),
		       &append.audit_length);
	int error;

	strcpy(event.name, name);
	if (!audit)
		return reason_set(reason, ENOMEM, "store_failed", "no memory left");
	append.audit = audit;
	error = history_append(engine, run, &append, reason);
	free(audit);
	return error;
}

/* Under run->lock. */
static int deliver(struct engine *engine, struct run *run, const struct caller *caller,
		   const char *name, struct value *value, bool *ret_is_new, struct reason *reason)
{
	const struct item *item;
	int error = run->is_removed ? -ENOENT : history_load_items(engine, run);

	*ret_is_new = false;
	/* It may be another run than the one that was asked for before the bytes were read. */
	if (!error && !permit_user(engine, caller, run->state.uid))
		error = -EACCES;
	if (error)
		return error;
	item = items_find(run->items, ITEM_SIGNAL, name);
	if (item && digest_equal(&item->digest, value_digest(value)))
		return 0;
	if (item)
		return reason_set(reason, EEXIST, "signal_exists",
				  "signal \"%s\" of run %s was delivered already, with other bytes",
				  name, run->id);
	if (run_is_final(run->state.status))
		return refuse_finished(run->id, run->state.status, reason);
	error = append_signal(engine, run, caller, name, value, reason);
	*ret_is_new = error == 0;
	return error;
}

static int deliver_to(struct engine *engine, struct run *run, const struct caller *caller,
		      const char *name, struct value *value, struct reason *reason)
{
	bool is_new;
	int error;

	pthread_mutex_lock(&run->lock);
	error = deliver(engine, run, caller, name, value, &is_new, reason);
	history_drop_items(engine, run);
	pthread_mutex_unlock(&run->lock);
	if (!is_new)
		value_settle(value, false);
	else
		supervisor_attend(engine, run);
	return error;
}

int signal_deliver(struct engine *engine, const struct caller *caller, const char *id,
		   const char *name, int fd, uint64_t size, struct reason *reason)
{
	struct value *value = NULL;
	struct run *run = NULL;
	int error = runs_check_access(engine, caller, id);

	if (!error)
		error = record_check_name(name, reason);
	if (!error && size > SIGNAL_BYTES_MAX)
		error = reason_set(reason, EFBIG, "value_too_large",
				   "signal \"%s\" has more than %u bytes", name, SIGNAL_BYTES_MAX);
	if (!error)
		error = value_read(engine->store, fd, size, &value, reason);
	if (!error)
		run = runs_find(engine, id);
	if (run)
		error = deliver_to(engine, run, caller, name, value, reason);
	else
		value_settle(value, false);
	if (!error && !run)
		error = -ENOENT;
	run_put(run);
	if (error)
		record_note_refusal(engine, caller, "signal_refused", id, name, reason);
	return error;
}
