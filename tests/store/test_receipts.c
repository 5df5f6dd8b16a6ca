/* SPDX-License-Identifier: Apache-2.0 */
/* Receipts: one for each name, oldest first, the newest 10,000. */
#include "tests/store/fixture.h"

static struct row_change receipt(const char *name, const char *text)
{
	return (struct row_change){
		.kind = ROW_PUT_RECEIPT,
		.box = "deploy",
		.name = name,
		.text = text,
		.text_length = strlen(text),
	};
}

struct list {
	unsigned int count;
	char names[8][32], texts[8][32];
};

static int list_one(void *context, const char *box, const char *name, const char *text,
		    size_t length, const struct reason *why)
{
	struct list *list = context;

	cr_assert_null(why);
	cr_assert_str_eq(box, "deploy");
	if (list->count < 8) {
		snprintf(list->names[list->count], 32, "%s", name);
		snprintf(list->texts[list->count], 32, "%.*s", (int)length, text);
	}
	list->count++;
	return 0;
}

static struct list list_all(struct store *store)
{
	struct list list = {0};

	cr_assert_eq(rows_each_receipt(store, list_one, &list), 0);
	return list;
}

Test(receipts, are_listed_in_the_order_in_which_they_came)
{
	struct row_change changes[] = {receipt("b", "1"), receipt("a", "2"), receipt("c", "3"),
				       receipt("b", "4")};
	struct fixture fixture;
	struct list list;

	fixture_open(&fixture);
	cr_assert_eq(rows_commit(fixture.store, changes, 4, NULL), 0);
	fixture_remount(&fixture);
	list = list_all(fixture.store);
	cr_assert_eq(list.count, 3);
	cr_assert_str_eq(list.names[0], "a");
	cr_assert_str_eq(list.names[1], "c");
	cr_assert_str_eq(list.names[2], "b");
	cr_assert_str_eq(list.texts[2], "4");
	fixture_close(&fixture);
}

Test(receipts, one_is_deleted_once)
{
	struct row_change change = receipt("a", "1");
	struct fixture fixture;

	fixture_open(&fixture);
	fixture_commit(fixture.store, &change);
	change.kind = ROW_DELETE_RECEIPT;
	fixture_commit(fixture.store, &change);
	cr_assert_eq(list_all(fixture.store).count, 0);
	cr_assert_eq(rows_commit(fixture.store, &change, 1, NULL), -ENOENT);
	fixture_close(&fixture);
}

Test(receipts, names_and_texts_are_bounded)
{
	static char long_name[512], long_text[100 * 1024];
	struct row_change change;
	struct fixture fixture;

	memset(long_name, 'n', 255);
	memset(long_text, 't', sizeof(long_text) - 1);
	fixture_open(&fixture);
	change = receipt(long_name, "1");
	fixture_commit(fixture.store, &change);
	long_name[255] = 'n';
	cr_assert_eq(rows_commit(fixture.store, &change, 1, NULL), -EINVAL);
	change = receipt("a", long_text);
	cr_assert_eq(rows_commit(fixture.store, &change, 1, NULL), -EINVAL);
	cr_assert_eq(list_all(fixture.store).count, 1);
	fixture_close(&fixture);
}

Test(receipts, the_oldest_make_room, .timeout = 120)
{
	enum { BATCH = 500, EXTRA = 3 };
	static struct row_change changes[BATCH];
	static char names[BATCH][16];
	struct fixture fixture;
	struct row_change gone;
	struct list list;

	fixture_open(&fixture);
	for (int at = 0; at < RECEIPTS_MAX; at += BATCH) {
		for (int i = 0; i < BATCH; i++) {
			snprintf(names[i], sizeof(names[i]), "n%d", at + i);
			changes[i] = receipt(names[i], "x");
		}
		cr_assert_eq(rows_commit(fixture.store, changes, BATCH, NULL), 0);
	}
	for (int i = 0; i < EXTRA; i++) {
		snprintf(names[i], sizeof(names[i]), "e%d", i);
		changes[i] = receipt(names[i], "x");
	}
	cr_assert_eq(rows_commit(fixture.store, changes, EXTRA, NULL), 0);
	list = list_all(fixture.store);
	cr_assert_eq(list.count, RECEIPTS_MAX);
	cr_assert_str_eq(list.names[0], "n3");
	gone = receipt("n2", "");
	gone.kind = ROW_DELETE_RECEIPT;
	cr_assert_eq(rows_commit(fixture.store, &gone, 1, NULL), -ENOENT, "its name went with it");
	fixture_close(&fixture);
}
