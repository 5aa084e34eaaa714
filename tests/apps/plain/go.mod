module millrace.dev/tests/apps/plain

go 1.26
