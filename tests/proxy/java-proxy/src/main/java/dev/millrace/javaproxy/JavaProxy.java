package dev.millrace.javaproxy;

import io.micrometer.prometheus.rsocket.PrometheusController;
import io.micrometer.prometheus.rsocket.PrometheusControllerProperties;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.boot.context.properties.EnableConfigurationProperties;
import org.springframework.context.annotation.Import;

/** All of the proxy is in the library; its own project adds a main class in the library's package, which scans it. */
@SpringBootApplication
@EnableConfigurationProperties(PrometheusControllerProperties.class)
@Import(PrometheusController.class)
public class JavaProxy {

	public static void main(String[] args) {
		SpringApplication.run(JavaProxy.class, args);
	}

}
