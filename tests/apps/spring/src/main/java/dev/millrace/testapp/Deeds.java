package dev.millrace.testapp;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.reflect.Field;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.TreeMap;

import org.springframework.boot.ExitCodeGenerator;
import org.springframework.util.unit.DataSize;
import sun.misc.Unsafe;

/** What a task can be told to do at its end. */
final class Deeds {

	private Deeds() {
	}

	static void printEnvironment(String[] prefixes) {
		new TreeMap<>(System.getenv()).forEach((name, value) -> {
			for (String prefix : prefixes) {
				if (name.startsWith(prefix)) {
					System.out.println("env " + name + "=" + value);
					return;
				}
			}
		});
	}

	static void write(String file, String text) {
		try {
			Files.writeString(Path.of(file), text);
		}
		catch (IOException ex) {
			throw new UncheckedIOException(ex);
		}
	}

	/** Outside the heap and written to, so that the kernel's limit is met and not the JVM's own. */
	static void eatMemory(String size) {
		try {
			Field field = Unsafe.class.getDeclaredField("theUnsafe");
			field.setAccessible(true);
			Unsafe unsafe = (Unsafe) field.get(null);
			long block = 16L << 20;
			for (long left = DataSize.parse(size).toBytes(); left > 0; left -= block) {
				unsafe.setMemory(unsafe.allocateMemory(block), block, (byte) 1);
			}
		}
		catch (ReflectiveOperationException ex) {
			throw new IllegalStateException(ex);
		}
	}

	static void fail(String message) {
		throw new IllegalStateException(message);
	}

	static void failWithExitCode(int code) {
		throw new ExitWith(code);
	}

	/** Spring Boot makes the code of such an exception the exit code of the JVM. */
	static final class ExitWith extends RuntimeException implements ExitCodeGenerator {

		private final int code;

		ExitWith(int code) {
			super("asked to end with exit code " + code);
			this.code = code;
		}

		@Override
		public int getExitCode() {
			return this.code;
		}

	}

}
