package dev.millrace.testapp;

import java.lang.reflect.Method;

import javax.sql.DataSource;

import io.micrometer.core.instrument.MeterRegistry;
import org.springframework.beans.factory.DisposableBean;
import org.springframework.boot.autoconfigure.condition.ConditionalOnProperty;
import org.springframework.stereotype.Component;

/**
 * Prints what a Prometheus client of this application would push last, so that a test
 * can compare it with what arrived. The destruction of a bean comes after the end of the
 * task and also after SIGTERM and {@code System.exit}.
 */
@Component
@ConditionalOnProperty(name = "app.print-scrape", matchIfMissing = true)
class LastScrape implements DisposableBean {

	private final MeterRegistry registry;

	/** The data source only for the order: its meters are gone when it is closed, and a client pushes before that. */
	LastScrape(MeterRegistry registry, DataSource closedAfterThis) {
		this.registry = registry;
	}

	@Override
	public void destroy() throws ReflectiveOperationException {
		// One print, or log lines of other threads would come between.
		System.out.print("---8<--- scrape\n" + scrape() + "--->8--- scrape\n");
		System.out.flush();
	}

	/** By name, because the class PrometheusMeterRegistry moved to another package with Boot 3.3. */
	private String scrape() throws ReflectiveOperationException {
		try {
			Method scrape = this.registry.getClass().getMethod("scrape");
			return (String) scrape.invoke(this.registry);
		}
		catch (NoSuchMethodException ex) {
			return "# no Prometheus registry, but " + this.registry.getClass().getName() + "\n";
		}
	}

}
