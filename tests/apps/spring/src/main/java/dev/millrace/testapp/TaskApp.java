package dev.millrace.testapp;

import java.time.Duration;

import io.micrometer.core.instrument.MeterRegistry;
import org.springframework.boot.CommandLineRunner;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.boot.context.properties.bind.Binder;
import org.springframework.cloud.task.configuration.EnableTask;
import org.springframework.context.annotation.Bean;
import org.springframework.core.env.Environment;

/** A Spring Cloud Task as users write them; what it does comes from the properties {@code app.*} (README.md). */
@SpringBootApplication
@EnableTask
public class TaskApp {

	public static void main(String[] args) {
		SpringApplication.run(TaskApp.class, args);
	}

	@Bean
	CommandLineRunner work(MeterRegistry registry, Environment environment) {
		Binder app = Binder.get(environment); // understands APP_RUNFOR and APP_RUN_FOR too
		return args -> {
			System.out.println("task started");
			for (String arg : args) {
				System.out.println("arg " + arg);
			}
			app.bind("app.print-env", String[].class).ifBound(Deeds::printEnvironment);
			registry.counter("app.runs").increment();
			Thread.sleep(app.bind("app.run-for", Duration.class).orElse(Duration.ofMillis(200)).toMillis());
			System.out.println("task done");
			String log = app.bind("app.termination-log", String.class).orElse("/dev/termination-log");
			app.bind("app.termination-message", String.class).ifBound(text -> Deeds.write(log, text));
			app.bind("app.eat-memory", String.class).ifBound(Deeds::eatMemory);
			app.bind("app.exit-now", Integer.class).ifBound(System::exit);
			app.bind("app.exit-code", Integer.class).ifBound(Deeds::failWithExitCode);
			app.bind("app.fail-with", String.class).ifBound(Deeds::fail);
		};
	}

}
