package dev.millrace.testapp;

import java.util.List;

import org.springframework.batch.core.job.Job;
import org.springframework.batch.core.step.Step;
import org.springframework.batch.core.job.builder.JobBuilder;
import org.springframework.batch.core.repository.JobRepository;
import org.springframework.batch.core.step.builder.ChunkOrientedStepBuilder;
import org.springframework.batch.core.step.builder.StepBuilder;
import org.springframework.batch.infrastructure.item.support.ListItemReader;
import org.springframework.beans.factory.annotation.Qualifier;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.boot.autoconfigure.condition.ConditionalOnProperty;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.transaction.PlatformTransactionManager;

/** The job of {@code app.batch=true}, with the API of Spring Batch 6. */
@Configuration
@ConditionalOnProperty("app.batch")
class BatchJob {

	// Spring Cloud Task brings a second transaction manager.
	private final PlatformTransactionManager transactions;

	private final int skipped;

	BatchJob(@Qualifier("transactionManager") PlatformTransactionManager transactions,
			@Value("${app.batch-skip:0}") int skipped) {
		this.transactions = transactions;
		this.skipped = skipped;
	}

	@Bean
	Job twoSteps(JobRepository repository, Step load, Step report) {
		return new JobBuilder("twoSteps", repository).start(load).next(report).build();
	}

	@Bean
	Step load(JobRepository repository) {
		ChunkOrientedStepBuilder<Integer, Integer> step = new StepBuilder("load", repository).<Integer, Integer>chunk(2)
			.transactionManager(this.transactions)
			.reader(new ListItemReader<>(List.of(1, 2, 3, 4, 5)))
			.processor(this::twice)
			.writer(items -> System.out.println("batch wrote " + items));
		if (this.skipped > 0) {
			step = step.faultTolerant().skip(IllegalStateException.class).skipLimit(5);
		}
		return step.build();
	}

	@Bean
	Step report(JobRepository repository) {
		return new StepBuilder("report", repository).tasklet((contribution, context) -> {
			System.out.println("batch reported");
			return null; // finished
		}, this.transactions).build();
	}

	private int twice(int item) {
		if (item == this.skipped) {
			throw new IllegalStateException("told to skip " + item);
		}
		return 2 * item;
	}

}
