/* SPDX-License-Identifier: Apache-2.0 */
/* manifest.json and the names of types: defaults, bounds on both sides, what is refused. */
#include "engine/manifest.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/type.h"

#define HEX_NAME "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

/* From memory that ends exactly with the text, so that a sanitizer sees a read behind it. */
static int parse(const char *bytes, size_t length, struct manifest *ret_manifest,
		 struct reason *reason)
{
	char *copy = malloc(length > 0 ? length : 1);
	int error;

	cr_assert(copy);
	memcpy(copy, bytes, length);
	error = manifest_parse(copy, length, ret_manifest, reason);
	free(copy);
	return error;
}

static struct manifest accepted(const char *text)
{
	struct manifest manifest;
	struct reason reason = {0};

	memset(&manifest, 0xee, sizeof(manifest));
	cr_assert_eq(parse(text, strlen(text), &manifest, &reason), 0, "%s: %s", text,
		     reason.message);
	return manifest;
}

/* Refused, with a message that contains `what`. */
static void refused(const char *text, const char *what)
{
	struct manifest manifest;
	struct reason reason = {0};

	cr_expect_eq(parse(text, strlen(text), &manifest, &reason), -EINVAL, "accepted: %s", text);
	cr_expect_eq(reason.error, EINVAL);
	cr_expect_str_eq(reason.code, "manifest_invalid");
	cr_expect(strstr(reason.message, what), "\"%s\" is not in: %s", what, reason.message);
}

/* A manifest with one more member behind the required one. */
static const char *with(const char *member)
{
	static char text[2048];

	snprintf(text, sizeof(text), "{\"entry_module\": \"order\", %s}", member);
	return text;
}

Test(manifest, defaults)
{
	struct manifest manifest = accepted("{\"entry_module\": \"order\"}");

	cr_expect_str_eq(manifest.type, "order");
	cr_expect_str_eq(manifest.function, "run");
	cr_expect_str_eq(manifest.label, "");
	cr_expect_not(manifest.has_timeout);
	cr_expect_eq(manifest.timeout_ns, 0);
	cr_expect_eq(manifest.max_attempts, 3);
	cr_expect_eq(manifest.initial_ms, 1000);
	cr_expect_eq(manifest.max_ms, 300000);
}

Test(manifest, everything_said)
{
	struct manifest manifest = accepted(
		"\n{\"format_version\": 1, \"entry_module\": \"shop/order\","
		" \"entry_function\": \"main\", \"label\": \"1.4.0 \xc3\xa4\","
		" \"timeout\": {\"secs\": 3600, \"nanos\": 5},"
		" \"retry\": {\"max_attempts\": 7, \"initial_ms\": 20, \"max_ms\": 30},"
		" \"build\": {\"deep\": [1, 2, {\"label\": 7}]}}\n");

	cr_expect_str_eq(manifest.type, "shop@order");
	cr_expect_str_eq(manifest.function, "main");
	cr_expect_str_eq(manifest.label, "1.4.0 \xc3\xa4");
	cr_expect(manifest.has_timeout);
	cr_expect_eq(manifest.timeout_ns, 3600000000005u);
	cr_expect_eq(manifest.max_attempts, 7);
	cr_expect_eq(manifest.initial_ms, 20);
	cr_expect_eq(manifest.max_ms, 30);
}

Test(manifest, refuses_what_is_no_json_object)
{
	static const char *const texts[] = {
		"", " ", "null", "[]", "\"order\"", "{", "}", "{}{}",
		"{\"entry_module\": \"order\"",
		"{\"entry_module\": \"order\",}", "{entry_module: \"order\"}",
		"{'entry_module': 'order'}", "{\"entry_module\": \"order\"} x",
		"{\"entry_module\": \"order\"} // comment", "{\"entry_module\": \"\xff\"}",
		"{\"entry_module\": \"\\ud800\"}", "{\"entry_module\": \"order\", \"n\": 1e999}",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		refused(texts[i], "manifest.json");
	refused("\xef\xbb\xbf{\"entry_module\": \"order\"}", "byte order mark");
}

Test(manifest, refuses_duplicate_keys_at_every_depth)
{
	refused("{\"entry_module\": \"order\", \"entry_module\": \"order\"}", "duplicate");
	refused(with("\"x\": 1, \"x\": 1"), "duplicate");
	refused(with("\"timeout\": {\"secs\": 1, \"secs\": 2}"), "duplicate");
	refused(with("\"other\": {\"a\": 1, \"\\u0061\": 2}"), "duplicate");
}

Test(manifest, entry_module_is_required_and_a_type)
{
	static const char *const modules[] = {
		"null", "7", "[]", "true", "{}", "\"\"", "\".\"", "\"..\"", "\".hidden\"",
		"\"a b\"", "\"a\\u0000b\"", "\"a\\\\b\"", "\"\xc3\xa4\"", "\"a:b\"", "\"a\\nb\"",
		"\"" HEX_NAME "\"",
	};
	char text[256];

	refused("{}", "entry_module");
	refused("{\"Entry_Module\": \"order\"}", "entry_module");
	for (size_t i = 0; i < sizeof(modules) / sizeof(modules[0]); i++) {
		snprintf(text, sizeof(text), "{\"entry_module\": %s}", modules[i]);
		refused(text, "entry_module");
	}
}

Test(manifest, format_version)
{
	accepted(with("\"format_version\": 1"));
	refused(with("\"format_version\": 0"), "format_version");
	refused(with("\"format_version\": 2"), "format_version");
	refused(with("\"format_version\": 1.0"), "format_version");
	refused(with("\"format_version\": \"1\""), "format_version");
	refused(with("\"format_version\": true"), "format_version");
}

Test(manifest, entry_function_is_one_safe_name)
{
	cr_expect_str_eq(accepted(with("\"entry_function\": \"run.sh\"")).function, "run.sh");
	cr_expect_str_eq(accepted(with("\"entry_function\": \"...\"")).function, "...");
	refused(with("\"entry_function\": \"\""), "entry_function");
	refused(with("\"entry_function\": \".\""), "entry_function");
	refused(with("\"entry_function\": \"..\""), "entry_function");
	refused(with("\"entry_function\": \"a/b\""), "entry_function");
	refused(with("\"entry_function\": \"../run\""), "entry_function");
	refused(with("\"entry_function\": \"/bin/sh\""), "entry_function");
	refused(with("\"entry_function\": \"a\\u0000b\""), "entry_function");
	refused(with("\"entry_function\": 1"), "entry_function");
}

/* A string member of `length` times 'x'. */
static const char *long_member(const char *key, size_t length)
{
	static char member[1024];
	int at = snprintf(member, sizeof(member), "\"%s\": \"", key);

	memset(member + at, 'x', length);
	snprintf(member + at + (int)length, sizeof(member) - (size_t)at - length, "\"");
	return member;
}

Test(manifest, lengths)
{
	char text[2048];

	accepted(with(long_member("label", LABEL_MAX)));
	refused(with(long_member("label", LABEL_MAX + 1)), "label");
	accepted(with(long_member("entry_function", FUNCTION_MAX)));
	refused(with(long_member("entry_function", 256)), "entry_function");
	snprintf(text, sizeof(text), "{%s}", long_member("entry_module", TYPE_MAX));
	cr_expect_eq(strlen(accepted(text).type), TYPE_MAX);
	snprintf(text, sizeof(text), "{%s}", long_member("entry_module", TYPE_MAX + 1));
	refused(text, "entry_module");
}

Test(manifest, label_is_printable)
{
	cr_expect_str_eq(accepted(with("\"label\": \"v2 (beta)\"")).label, "v2 (beta)");
	cr_expect_str_eq(accepted(with("\"label\": \"\"")).label, "");
	refused(with("\"label\": \"a\\nb\""), "label");
	refused(with("\"label\": \"a\\u0000\""), "label");
	refused(with("\"label\": \"a\\u001b[31m\""), "label");
	refused(with("\"label\": \"a\\u007f\""), "label");
	refused(with("\"label\": \"a\\u009b31m\""), "label");
	refused(with("\"label\": \"a\\u0085\""), "label");
	cr_expect_str_eq(accepted(with("\"label\": \"\\u00a0\"")).label, "\xc2\xa0");
	refused(with("\"label\": 1.4"), "label");
}

Test(manifest, timeout)
{
	cr_expect_eq(accepted(with("\"timeout\": {\"secs\": 1}")).timeout_ns, 1000000000u);
	cr_expect_eq(accepted(with("\"timeout\": {\"nanos\": 999999999}")).timeout_ns, 999999999u);
	refused(with("\"timeout\": 5"), "timeout");
	refused(with("\"timeout\": \"1h\""), "timeout");
	refused(with("\"timeout\": {\"secs\": -1}"), "secs");
	refused(with("\"timeout\": {\"secs\": 1.5}"), "secs");
	refused(with("\"timeout\": {\"secs\": 9223372036854775807}"), "secs");
	refused(with("\"timeout\": {\"secs\": 99999999999999999999}"), "manifest.json");
	refused(with("\"timeout\": {\"secs\": 1, \"nanos\": -1}"), "nanos");
	refused(with("\"timeout\": {\"secs\": 1, \"nanos\": 1000000000}"), "nanos");
}

Test(manifest, retry)
{
	cr_expect_eq(accepted(with("\"retry\": {}")).max_attempts, 3);
	cr_expect_eq(accepted(with("\"retry\": {\"max_attempts\": 1000000}")).max_attempts,
		     1000000);
	cr_expect_eq(accepted(with("\"retry\": {\"initial_ms\": 0, \"max_ms\": 0}")).max_ms, 0);
	refused(with("\"retry\": 3"), "retry");
	refused(with("\"retry\": {\"max_attempts\": 0}"), "max_attempts");
	refused(with("\"retry\": {\"max_attempts\": 1000001}"), "max_attempts");
	refused(with("\"retry\": {\"max_attempts\": \"3\"}"), "max_attempts");
	refused(with("\"retry\": {\"initial_ms\": -1}"), "initial_ms");
	refused(with("\"retry\": {\"max_ms\": -1}"), "max_ms");
	refused(with("\"retry\": {\"initial_ms\": 2, \"max_ms\": 1}"), "initial_ms");
}

Test(manifest, a_hostile_size_or_depth_is_bounded)
{
	static char text[MANIFEST_BYTES_MAX + 1];
	static const char head[] = "{\"entry_module\": \"order\", \"x\": ";
	struct manifest manifest;

	memset(text, ' ', sizeof(text));
	memcpy(text, "{\"entry_module\": \"order\"}", 25);
	cr_expect_eq(manifest_parse(text, MANIFEST_BYTES_MAX, &manifest, NULL), 0);
	cr_expect_eq(manifest_parse(text, MANIFEST_BYTES_MAX + 1, &manifest, NULL), -EINVAL);
	memset(text, '[', sizeof(text));
	cr_expect_eq(manifest_parse(text, MANIFEST_BYTES_MAX, &manifest, NULL), -EINVAL);
	memcpy(text, head, sizeof(head) - 1);
	cr_expect_eq(manifest_parse(text, MANIFEST_BYTES_MAX, &manifest, NULL), -EINVAL);
}

Test(manifest, every_cut_is_refused)
{
	static const char text[] = "{\"entry_module\": \"order\", \"timeout\": {\"secs\": 12}}";
	struct manifest manifest;

	for (size_t length = 0; length < sizeof(text) - 1; length++)
		cr_expect_eq(parse(text, length, &manifest, NULL), -EINVAL, "cut at %zu", length);
}

Test(type, valid_names)
{
	static const char *const names[] = {"a", "A-Z_0.9@x", "-", "@", "_", "a.", "order@v2",
					    "e3b0c44298fc1c149afbf4c8996fb924"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		cr_expect(type_is_valid(names[i], strlen(names[i])), "%s", names[i]);
}

Test(type, invalid_names)
{
	static const char *const names[] = {"", ".", "..", ".a", "a/b", "a b", "a\n", "\xc3\xa4",
					    "a+b", "a~", HEX_NAME};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		cr_expect_not(type_is_valid(names[i], strlen(names[i])), "%s", names[i]);
	cr_expect_not(type_is_valid("a\0b", 3));
	cr_expect_not(type_is_valid("a\0", 2));
}

Test(type, of_a_module)
{
	char type[TYPE_MAX + 1];

	cr_expect_eq(type_from_module("a/b/c", 5, type), 0);
	cr_expect_str_eq(type, "a@b@c");
	cr_expect_eq(type_from_module("/a", 2, type), 0);
	cr_expect_str_eq(type, "@a");
	cr_expect_eq(type_from_module("", 0, type), -EINVAL);
	cr_expect_eq(type_from_module("./a", 3, type), -EINVAL);
}
